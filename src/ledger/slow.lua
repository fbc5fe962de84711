-- The provider has asked for a slower pace: the submits of all workers pause, and continue at half the rate. Several such
-- answers at the same time slow it once.
-- KEYS[1] '{prefix}:pace'
-- ARGV[1] how long to pause, ms   ARGV[2] the caller's own submits in 1000 s: the rate that is halved if there is no pace yet
-- answer  the rate
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local pause, own = math.min(tonumber(ARGV[1]), PACE.PAUSE_MS), tonumber(ARGV[2])
local pace = pace_of(KEYS[1], now)
local rate, since, ends, next_at = own / 2, now, now + pause, 0
if pace then
  rate, ends, next_at = pace_rate(pace, now), math.max(ends, tonumber(pace.until_ms)), tonumber(pace.next_ms)
  if now - tonumber(pace.since_ms) < PACE.SLOWED_ONCE_MS then
    rate, since = tonumber(pace.rate), tonumber(pace.since_ms)
  else
    rate = rate / 2
  end
end
rate = string.format('%.0f', math.max(PACE.LEAST, rate))
redis.call('HSET', KEYS[1], 'rate', rate, 'since_ms', string.format('%.0f', since), 'until_ms', string.format('%.0f', ends),
           'next_ms', string.format('%.0f', next_at))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ends - now + PACE.FORGOTTEN_MS))
return rate
