with source as (

    select * from {{ source('raw', 'campaigns') }}

),

renamed as (

    select
        campaign_id,
        campaign_type,
        channel,
        start_date,
        end_date,
        week_start,
        known_at
    from source

)

select * from renamed
