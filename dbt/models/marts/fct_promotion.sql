{{ config(slices_from='stg_promotions', slice_weeks=8) }}

-- Used twice, and kept from being held in memory: a year has 21 million rows.
with promotions as not materialized (

    select * from {{ ref('stg_promotions') }}
    where {{ in_weeks() }}

),

-- Time zone arithmetic is slow: once per week, not once per row.
weeks as (

    select
        week_start,
        {{ start_of_week() }} as known_at
    from (select distinct week_start from promotions)

),

-- Two rows for one product, store and week: the stronger state holds. A display beats none, a
-- mailer beats none, and of two codes the one that sorts last.
strongest as (

    select
        product_id,
        store_id,
        week_start,
        coalesce(max(nullif(display, '0')), '0') as display,
        coalesce(max(nullif(mailer, '0')), '0') as mailer
    from promotions
    group by product_id, store_id, week_start

),

flagged as (

    select
        strongest.product_id,
        strongest.store_id,
        strongest.display,
        strongest.mailer,
        strongest.display <> '0' as on_display,
        strongest.mailer <> '0' as in_mailer,
        strongest.week_start,
        weeks.known_at
    from strongest
    inner join weeks on strongest.week_start = weeks.week_start

)

select * from flagged
