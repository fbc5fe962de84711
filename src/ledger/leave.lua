-- A life has left the storing of its images alive, but without an end, so its entry doesn't count.
-- ARGV[3] the name of the life, as in enter.lua
-- ARGV[4] "", or how long the images have been tried for in vain, over all lives, in ms; the longest reported time is kept
-- answer  "ok"; "moved" if the life isn't listed
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
local tried = tonumber(ARGV[4])
if tried and tried >= tonumber(record.tried_ms or '0') then redis.call('HSET', job, 'tried_ms', ARGV[4]) end
local word = ARGV[3] == '' and '-' or ARGV[3]
local inside = record.entered or (tonumber(record.entries or '0') > 0 and ' -' or '')
local from, to = string.find(inside .. ' ', ' ' .. word .. ' ', 1, true)
if not from then return answer('moved') end
redis.call('HINCRBY', job, 'entries', -1)
redis.call('HSET', job, 'entered', string.sub(inside, 1, from - 1) .. string.sub(inside, to))
return answer('ok')
