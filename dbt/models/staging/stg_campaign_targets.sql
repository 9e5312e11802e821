with source as (

    select * from {{ source('raw', 'campaign_targets') }}

),

renamed as (

    select
        campaign_id,
        household_id,
        week_start,
        known_at
    from source

)

select * from renamed
