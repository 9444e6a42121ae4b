"""Writing results: pictures (png), DICOM Segmentation (segmentation), NIfTI masks (nifti) and reports (report).

Of everything in an image: pictures (generation_png), labels (nifti) and reports (generation).

Every result carries its provenance and says that it is not for diagnosis.
"""
