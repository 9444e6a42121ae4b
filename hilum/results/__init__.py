"""Writing results: pictures (png), DICOM Segmentation (segmentation), NIfTI masks (nifti) and reports (report).

Every result carries its provenance and says that it is not for diagnosis.
"""
