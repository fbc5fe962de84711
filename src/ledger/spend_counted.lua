-- Adds what was counted from the receipts to a day, once: see spend.lua for the keys.
-- KEYS[1]  '{prefix}:spend'   KEYS[2]  '{prefix}:spend:<day>'
-- ARGV[1]  how long the day is kept, in ms   ARGV[2]  "-", or what a job has cost on average   ARGV[3 ...]  pairs: field, number
-- answer   1; 0 if it was counted before
if redis.call('HGET', KEYS[1], 'complete') == '1' then return 0 end
for i = 3, #ARGV, 2 do redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) end
if #ARGV > 2 then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
if ARGV[2] ~= '-' then redis.call('HSETNX', KEYS[1], 'typical', ARGV[2]) end
redis.call('HSET', KEYS[1], 'complete', '1')
return 1
