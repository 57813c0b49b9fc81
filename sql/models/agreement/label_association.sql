-- Which labels of two categories attract or avoid each other (pointwise NMI of primary labels).
{{ config(materialized='view') }}
select *
from (
    {{ cuvee.pointwise_nmi(ref('label_cooccurrence'), ['labeler', 'category_x', 'category_y']) }}
) as met
