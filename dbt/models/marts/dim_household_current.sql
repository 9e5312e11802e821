{{ config(materialized='view', post_hook='{{ log_column_metadata() }}') }}

with history as (

    select * from {{ ref('dim_household_history') }}
    where is_current

),

current_version as (

    select * exclude (valid_from, valid_to, is_current) from history

)

select * from current_version
