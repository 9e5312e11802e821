{{ config(replaces='onwards') }}

{{ versions(ref('stg_campaign_targets'), ids=['campaign_id', 'household_id'], attributes=[]) }}
