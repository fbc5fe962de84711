-- How long the latest tasks of one kind took: the news is added, and the oldest go. Without news it only reads.
-- KEYS[1]  a list of milliseconds, the newest last
-- ARGV[1]  milliseconds to remember it   ARGV[2] how many to keep   ARGV[3 ...] the news
-- answer   the list
-- If it runs twice, the same tasks count twice, until they are forgotten.
local key = KEYS[1]
if #ARGV > 2 then
  redis.call('RPUSH', key, unpack(ARGV, 3))
  redis.call('LTRIM', key, -tonumber(ARGV[2]), -1)
  redis.call('PEXPIRE', key, ARGV[1])
end
return redis.call('LRANGE', key, -tonumber(ARGV[2]), -1)
