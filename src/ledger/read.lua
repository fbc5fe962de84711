-- Reads the record. A caller that finds another worker submitting will wait, so it is woken when the record moves.
-- A caller that finds the job generating takes it over: until the task's end is seen, its slots stay taken for at least a
-- fourth of their time from now on.
-- answer  "record", or "none"
if missing then return answer('none') end
if record.version == VERSION and record.stage == 'submitting' then redis.call('HSET', job, 'watched', '1') end
if slots and record.version == VERSION and record.stage == 'generating' and not record.entered then
  hold(math.max(math.min(record.since_ms, now) + slots.keep, now + math.floor(slots.keep / 4)))
end
return answer('record')
