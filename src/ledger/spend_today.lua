-- What is spent today; spend.lua precedes it.
-- KEYS[1]  '{prefix}:spend'   KEYS[2]  '{prefix}:spend:<day>'   KEYS[3]  the index of the unfinished jobs (see common.lua)
-- ARGV[1]  "-", or what a job is taken to cost   ARGV[2]  for how long a job runs at most, in ms
-- answer   {what is spent, how many jobs run whose cost isn't known yet, what one of them is taken to cost or false, 1 if the day
--          is complete, else 0}
local t = redis.call('TIME')
local spent, running, each, complete =
  spend_today(KEYS[1], KEYS[2], KEYS[3], t[1] * 1000 + math.floor(t[2] / 1000), ARGV[1], ARGV[2])
return {string.format('%.0f', spent), running, each and string.format('%.0f', each) or false, complete and 1 or 0}
