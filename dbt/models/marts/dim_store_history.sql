{{ config(materialized='view', post_hook='{{ log_column_metadata() }}') }}

{{ history(ref('dim_store'), id='store_id') }}
