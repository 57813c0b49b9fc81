-- STEM with DCLM: of STEM, what the classifier of DCLM thinks well of.
select *
from {{ ref('stem') }}
where quality_signals.fasttext.dclm > 0.01811
