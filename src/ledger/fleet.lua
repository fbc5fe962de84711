-- What is true of all jobs. Only a time of the pace that is later than possible is changed. pace.lua precedes it.
-- KEYS[1]  the index of the unfinished jobs (see common.lua)   KEYS[2]  the latest ends (see published.lua)   KEYS[3]  the workers
--          (see heartbeat.lua)   KEYS[4]  '{prefix}:slots:count'   KEYS[5]  '{prefix}:pace'
-- ARGV[1]  how many of the latest ends
-- answer   {Redis's time in ms, how many jobs are at each stage, {the job that has been at its stage for longest, its score} or {},
--          the latest ends, the ids of the workers, how many slots are taken, submits in 1000 s or false}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local APART, STAGES = 1e13, 6
local counts, oldest, oldest_since = {}, {}, nil
for stage = 1, STAGES do
  local from, to = string.format('%.0f', stage * APART), string.format('(%.0f', (stage + 1) * APART)
  counts[stage] = redis.call('ZCOUNT', KEYS[1], from, to)
  local first = redis.call('ZRANGEBYSCORE', KEYS[1], from, to, 'WITHSCORES', 'LIMIT', 0, 1)
  if first[1] then
    local since = tonumber(first[2]) - stage * APART
    if not oldest_since or since < oldest_since then oldest, oldest_since = first, since end
  end
end
local pace = pace_of(KEYS[5], now)
local recent = tonumber(ARGV[1])
return {now, counts, oldest,
        recent > 0 and redis.call('ZREVRANGE', KEYS[2], 0, recent - 1) or {},
        redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '+inf'),
        tonumber(redis.call('HGET', KEYS[4], 'taken') or '0'),
        pace and string.format('%.0f', pace_rate(pace, now)) or false}
