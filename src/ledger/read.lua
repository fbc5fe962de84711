-- Reads the record. A caller that finds another worker submitting will wait, so it is woken when the record moves.
-- A caller that finds the job generating takes it over: until the task's end is seen, its slots stay taken for at least a
-- fourth of their time from now on.
-- The index of the unfinished jobs is mended, which Redis may have lost without the record. A job that is found submitting
-- is no longer simply being submitted: what came of its POST has to be found out.
-- answer  "record", or "none"
if missing then return answer('none') end
if record.version == VERSION and record.stage == 'submitting' then redis.call('HSET', job, 'watched', '1') end
if record.version == VERSION and record.since_ms then
  if record.stage == 'submitting' then
    list('recovering', record.since_ms)
  elseif record.entered then
    redis.call('ZADD', index, 'NX', score('storing', record.since_ms), id)
  elseif record.stage == 'new' or record.stage == 'generating' then
    list(record.stage, record.since_ms)
  end
end
if slots and record.version == VERSION and record.stage == 'generating' and not record.entered then
  hold(math.max(math.min(record.since_ms, now) + slots.keep, now + math.floor(slots.keep / 4)))
end
return answer('record')
