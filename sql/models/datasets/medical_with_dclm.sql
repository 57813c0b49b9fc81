-- Medical with DCLM: of Medical, what the classifier of DCLM thinks well of.
select *
from {{ ref('medical') }}
where quality_signals.fasttext.dclm > 0.01811
