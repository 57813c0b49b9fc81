-- Documents that are near duplicates of another, each with the first one.
{{ minhash_pairs(ref('document_minhash'), bands=var('minhash_bands'), rows=var('minhash_rows')) }}
