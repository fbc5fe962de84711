-- How long tasks of one kind take: older knowledge fades, and the news is added. Without news it only reads.
-- KEYS[1]  a hash: version, and the weight of each bin that isn't empty, by its number (see job/pace/durations.rs)
-- ARGV[1]  milliseconds to remember it   ARGV[2] factor for each older weight   ARGV[3 ...] bin, weight, bin, weight ...
-- answer   the fields; those of another version are returned unchanged
-- If it runs twice, the same jobs count twice; that error fades too.
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
