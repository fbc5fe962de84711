-- What was spent today: see spend.lua for the keys.
-- KEYS[1]  '{prefix}:spend'   KEYS[2]  '{prefix}:spend:<day>'   KEYS[3]  the index of the unfinished jobs (see common.lua)
-- ARGV[1]  "-", or what a job is taken to cost
-- answer   {what was spent, how many jobs were submitted whose end isn't counted yet, what one of them is taken to cost,
--          1 if the ends before a loss of Redis are counted, else 0}; units in millionths
local state = redis.call('HMGET', KEYS[1], 'complete', 'typical')
local day = redis.call('HMGET', KEYS[2], 'units', 'estimated')
local spent = tonumber(day[1] or '0') + tonumber(day[2] or '0')
local each = tonumber(ARGV[1] ~= '-' and ARGV[1] or state[2] or '0')
return {string.format('%.0f', spent), redis.call('ZCOUNT', KEYS[3], '20000000000000', '+inf'), string.format('%.0f', each),
        state[1] == '1' and 1 or 0}
