-- A life has left the storing of its images without an end, and alive: its entry doesn't count.
-- ARGV[3] the life's own word; "" for the life that submitted the job
-- ARGV[4] "", or for how long the images have been tried for in vain, over all lives, in ms; the longest that was told stays
-- answer  "ok"; "moved" where the last entry is not its own
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
local tried = tonumber(ARGV[4])
if tried and tried >= tonumber(record.tried_ms or '0') then redis.call('HSET', job, 'tried_ms', ARGV[4]) end
if (record.entered or '') ~= ARGV[3] or tonumber(record.entries or '0') == 0 then return answer('moved') end
redis.call('HINCRBY', job, 'entries', -1)
redis.call('HSET', job, 'entered', 'left')
return answer('ok')
