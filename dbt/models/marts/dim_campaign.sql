{{ config(replaces='onwards') }}

{{ versions(ref('stg_campaigns'), ids=['campaign_id'], attributes=['campaign_type', 'channel', 'start_date', 'end_date']) }}
