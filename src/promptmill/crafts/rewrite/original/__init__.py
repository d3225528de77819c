"""The files of the original project, and tables as its readers expect them: in and out."""
