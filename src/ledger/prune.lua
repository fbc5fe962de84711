-- Takes out of the index what has ended: a worker of an older version doesn't take it out, and neither does one whose last move
-- was lost.
-- KEYS[1]  the index of the unfinished jobs (see common.lua)   KEYS[2 ...]  the records of some jobs in it
-- ARGV     the ids of these jobs
-- answer   how many were taken out
local ended = 0
for i = 2, #KEYS do
  local stage = redis.call('HGET', KEYS[i], 'stage')
  local is_told = stage == 'told' or (stage == 'done' and redis.call('PTTL', KEYS[i]) >= 0)
  if not stage or is_told then ended = ended + redis.call('ZREM', KEYS[1], ARGV[i - 1]) end
end
return ended
