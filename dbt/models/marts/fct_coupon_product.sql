{{ config(replaces='onwards') }}

{{ versions(ref('stg_coupons'), ids=['coupon_id', 'product_id', 'campaign_id'], attributes=[]) }}
