-- A life has left the storing of its images without an end, and alive: its entry doesn't count.
-- ARGV[3] the life's own word; "" for the life that submitted the job
-- answer  "ok"; "moved" where the last entry is not its own
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
if (record.entered or '') ~= ARGV[3] or tonumber(record.entries or '0') == 0 then return answer('moved') end
redis.call('HINCRBY', job, 'entries', -1)
redis.call('HSET', job, 'entered', 'left')
return answer('ok')
