{{ config(materialized='view', post_hook='{{ log_column_metadata() }}') }}

{{ history(ref('dim_product'), id='product_id') }}
