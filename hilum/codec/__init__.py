"""Values to messages of hilum.v1 and back, with every check that bad input needs.

`*_to_message` trusts its argument, `*_from_message` trusts nothing: it raises the errors of hilum.errors with the path
of the field at fault, before anything large is allocated. Clients and services use the same functions.
"""
