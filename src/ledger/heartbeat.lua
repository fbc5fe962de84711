-- A worker shows that it lives, what it holds, and what it waits for.
-- KEYS[1]  zset of the workers: id -> the time of the last heartbeat   KEYS[2]  the state of this one   KEYS[3]  the index of the
--          unfinished jobs (see common.lua)   KEYS[4]  the id of the worker that shows what is true of the whole fleet; expires
-- KEYS[5]  a text that is lost only with everything else
-- ARGV[1]  id   ARGV[2]  ms after which it counts as gone   ARGV[3]  its state, in JSON   ARGV[4]  "1": it has a port to show
--          something at   ARGV[5]  a text for KEYS[5], if there is none
-- ARGV[6 ...]  triples: a job that it has been storing, or publishing the end of, for more than a moment; the number of that
--          stage; and for how many ms. Most jobs get to these stages without a script, so this is what shows them; a job that
--          has ended meanwhile stays out.
-- answer   {the text of KEYS[5]; 1 if this worker is the one that shows what is true of the whole fleet, else 0}
local id, kept_ms = ARGV[1], ARGV[2]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('SET', KEYS[2], ARGV[3], 'PX', kept_ms)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), id)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(kept_ms)))
for i = 6, #ARGV, 3 do
  local stage, since_ms = tonumber(ARGV[i + 1]), now - tonumber(ARGV[i + 2])
  redis.call('ZADD', KEYS[3], 'XX', string.format('%.0f', stage * 1e13 + since_ms), ARGV[i])
end
local shows = 0
if ARGV[4] == '1' then
  local holder = redis.call('GET', KEYS[4])
  if not holder or holder == id then
    redis.call('SET', KEYS[4], id, 'PX', kept_ms)
    shows = 1
  end
end
redis.call('SET', KEYS[5], ARGV[5], 'NX')
return {redis.call('GET', KEYS[5]), shows}
