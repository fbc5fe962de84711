-- How long tasks of one kind take: what was known fades, the news come on top. Without news it is only read.
-- KEYS[1]  a hash: version, and by its number the weight of each bin that isn't empty (job/pace/durations.rs says which bins)
-- ARGV[1]  milliseconds to remember it   ARGV[2] what is left of each older weight   ARGV[3 ...] bin, weight, bin, weight ...
-- answer   the fields; those of another version are nobody's business, and stay
-- Run twice, the same jobs count twice: that is forgotten like all else.
local VERSION, LEAST = '1', 0.001
local key, kept = KEYS[1], tonumber(ARGV[2])
local fields = redis.call('HGETALL', key)
local weights, version = {}, nil
for i = 1, #fields, 2 do
  if fields[i] == 'version' then version = fields[i + 1] else weights[fields[i]] = tonumber(fields[i + 1]) end
end
if #ARGV == 2 or (version and version ~= VERSION) then return fields end
for bin, weight in pairs(weights) do weights[bin] = weight * kept end
for i = 3, #ARGV, 2 do weights[ARGV[i]] = (weights[ARGV[i]] or 0) + tonumber(ARGV[i + 1]) end

local known = {'version', VERSION}
for bin, weight in pairs(weights) do
  if weight >= LEAST then
    known[#known + 1], known[#known + 2] = bin, string.format('%.6g', weight)
  end
end
redis.call('DEL', key)
redis.call('HSET', key, unpack(known))
redis.call('PEXPIRE', key, ARGV[1])
return known
