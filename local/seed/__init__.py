"""`omsync local seed`: fill the OMS with history, by COPY.

text.py        values as COPY text          vocabulary.py  names, streets, drugs, sentences
company.py     the fixed tables             people.py, care.py, commerce.py, contact.py   a patient's story
story.py       all rows of N patients       bulk.py        into an empty or a used database
synthea.py     a Synthea CSV export         notes.py       note texts from a CSV file
command.py     what an operator types
"""
