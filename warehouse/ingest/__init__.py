r"""Reading documents into the lake.

    inputs       paths, globs, folders → files                formats      what a file is, by its content
    jsonl, json_values, giant, parquet, essential_web, mds, warc, arc, text, environment      one reader a format
    records, columnar                                         what a reader yields: batches in Arrow columns
    known        which files the lake has                     run          the loop over files
    label_tables, outside, labels           tables of labels, who gives them, and their way into the lake
    unit         rows staged as Parquet                       commit       what is new, and the transaction

What is decided here, for every format:

- **Text** is kept as it stands: NUL characters, control characters, carriage returns and trailing blanks included.
  Only a byte order mark at the start of a file is dropped. Its doc_id is the content address of exactly that text.
- **Empty text** is rejected; text of blanks only is a document. A file of 0 bytes has no records.
- **A lone surrogate** (``"\ud800"``) has no form in UTF-8, so the record is rejected. So is what is not UTF-8:
  guessing an encoding changes texts silently.
- **A text file** with a NUL byte is binary and rejected.
- **Large records** are documents up to 256 MB; a longer one is rejected, and reading goes on behind it.
- **Position** counts the records of a file from 1: the line of a JSONL file, the row of a Parquet file, the sample of
  an MDS folder, the record of a web archive. 0 stands for the file itself.
- **Rejects** keep up to 64 KiB of the record as it was found; the reason says when there was more.
- **Source** is the one asked for, else the record's own field ``source``, else the file's name up to the first dot (the
  folder's name for text files in a folder; ``pypi`` for the environment).
- **Tokens** in MDS samples without text become text by the tokenizer that was asked for, special tokens left out.
- **URLs** are downloaded into the lake's staging for as long as they are read; raw.files has the URL as path.
- **Columns** of an occurrence come from ``url``, ``id`` (or the fields asked for), ``license``, and ``created``,
  ``published_at``, ``published`` or ``date`` where that is an ISO 8601 time. All other fields are its metadata, in
  one JSON object.
"""
