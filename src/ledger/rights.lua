-- Finds the commands that the ledger needs and the user may not run: each is tried on a separate key, which is deleted afterwards.
-- KEYS[1]  '{prefix}:probe'
-- ARGV[1]  the channel of the hints
-- answer   the text of the first refusal, or ""; then the names of all refused commands
local key, refused, said = KEYS[1], {}, ''
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    if said == '' then said = answer.err end
    refused[#refused + 1] = select(1, ...)
  end
end
try('DEL', key)
try('TIME')
try('HSET', key, 'a', '1')
try('HSETNX', key, 'b', '1')
try('HGET', key, 'a')
try('HMGET', key, 'a', 'b')
try('HGETALL', key)
try('HVALS', key)
try('HEXISTS', key, 'a')
try('HLEN', key)
try('HINCRBY', key, 'a', 1)
try('HDEL', key, 'b')
try('PEXPIRE', key, 10000)
try('PERSIST', key)
try('PTTL', key)
try('DEL', key)
try('ZADD', key, 1, 'a')
try('ZSCORE', key, 'a')
try('ZREVRANGE', key, 0, 0)
try('ZRANGE', key, 0, 0)
try('ZRANGEBYSCORE', key, '-inf', 1)
try('ZCOUNT', key, '-inf', '+inf')
try('ZREM', key, 'a')
try('ZREMRANGEBYRANK', key, 0, 0)
try('ZREMRANGEBYSCORE', key, '-inf', 0)
try('DEL', key)
try('RPUSH', key, '1')
try('LTRIM', key, -1, -1)
try('LRANGE', key, 0, -1)
try('DEL', key)
try('SET', key, '1', 'NX', 'PX', 10000)
try('GET', key)
try('MGET', key)
try('DEL', key)
try('PUBLISH', ARGV[1], '')
return {said, unpack(refused)}
