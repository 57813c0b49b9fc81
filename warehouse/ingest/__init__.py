r"""Read documents, and labels of documents, into the lake.

Goes in: files, folders and URLs. Comes out: rows of raw.documents, raw.occurrences, raw.rejects and raw.files, and
answers in the label stores. Main names: ``inputs.find_inputs``, ``run.ingest``, ``labels.label_files.ingest_labels``.

    inputs            paths, globs, folders, URLs → files      formats.detection   a file's format, by its content
    known_files       files that the lake has                  run                 the loop over files
    bytestream        a file's bytes, decompressed             formats             one reader a format
    records           batches in Arrow columns, rejects        record_builder, formats.columnar      their makers
    unit              rows staged as Parquet                   commit              what is new, and the transaction
    web               web archives and pages: records, codings, characters, text
    folders           data sets, tables with a log, links      exact_json, times   digits of numbers; times
    attributes        Dolma's attribute files                  labels              tables of labels, batch files
    benchmark_files   the texts of a benchmark's records

Decisions for every format:

- **Text** is kept unchanged: NUL characters, control characters, carriage returns and trailing blanks included.
  Only a byte order mark at the start of a file is dropped. Its doc_id is the content address of exactly that text.
- **Empty text** is rejected; text of blanks only is a document. A file of 0 bytes has no records.
- **A lone surrogate** (``"\ud800"``) cannot be written in UTF-8, so the record is rejected. So is what is not UTF-8,
  but for UTF-16 and UTF-32 with their mark: guessing an encoding changes texts silently.
- **Web pages** are decoded as the Encoding Standard says, with U+FFFD for invalid bytes; a page of which more than a
  fifth is that, or that is binary, is rejected. So is one over 16 MB. ``web.pages`` says what is passed over.
- **A text file** with a NUL byte is binary and rejected.
- **Large records** are documents up to 256 MB; a longer one is rejected, and reading goes on behind it.
- **Position** counts the records of a file from 1: the line of a JSONL file or a table, the row of a Parquet file, the
  sample of an MDS folder, the record of a web archive or of all files in an archive. 0 means the file itself.
- **Next to the text** nothing costs a document: whole numbers keep their digits, NaN and Infinity become null, what
  JSON cannot hold becomes text or null, and ``IngestReport.notes`` counts it.
- **Rejects** keep up to 64 KiB of the record as it was found; the reason says when there was more.
- **Source** is the one that the caller names, else the record's own field ``source``, else the file's name up to the
  first dot (the folder's name for text files in a folder and for numbered parts, such as ``part-00000.parquet``;
  ``pypi`` for the environment).
- **Hive folders** (``lang=en/`` right above a file) are fields of its records, where they have none of that name.
- **Tokens** in MDS samples without text become text by the tokenizer that the caller names, special tokens left out.
- **URLs** are downloaded into the lake's staging while they are read; raw.files has the URL as path.
- **Columns** of an occurrence come from ``url``, ``id`` (or the fields that the caller names), ``license``, and
  ``created``, ``published_at``, ``published`` or ``date`` where ``times`` can read it. All other fields are its
  metadata, in one JSON object.
"""
