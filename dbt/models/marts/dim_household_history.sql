{{ config(materialized='view', post_hook='{{ log_column_metadata() }}') }}

{{ history(ref('dim_household'), id='household_id') }}
