r"""Read web archives (WARC, WET, ARC) and HTML files: pages to text.

    members      an archive's decompressed bytes; finds the next member behind damage
    records      its records; finds the next record behind damage
    payload      a response without its transfer and content codings
    charset      bytes to characters, as browsers decode them
    extraction   HTML to text
    pages        a record to a document, or the reason why there is none

Goes in: a file. Comes out: batches of documents, rejects, and counts of what was passed over.
"""
