-- Counts ends from their receipts, each once; spend_count.lua precedes it.
-- KEYS[1]  '{prefix}:spend'   KEYS[2]  '{prefix}:spend:<day>'   KEYS[3]  '{prefix}:spend:recounted'   KEYS[4 ...]  the records of the jobs
-- ARGV[1]  for how long it is remembered which were counted, in ms   ARGV[2 ...]  for each job four: its id, its note and its label
--          (see spend_count.lua), and "1" if it is a correction
-- answer   nothing
for i = 2, #ARGV, 4 do
  local id, note, label, corrects = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] == '1'
  local before = redis.call('HGET', KEYS[4 + (i - 2) / 4], 'counted') or redis.call('HGET', KEYS[3], id)
  redis.call('HSET', KEYS[3], id, count_end(KEYS[1], KEYS[2], note, label, before or nil, corrects))
end
redis.call('PEXPIRE', KEYS[3], ARGV[1])
