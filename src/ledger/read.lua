-- How far is the job? Whoever sees another hand submitting is going to look on, and asks to be woken.
-- Whoever reads that it is generating goes on with it: its slots stay taken for a fourth of their time from now on, at least;
-- until somebody has seen the task's end.
-- answer  "record", or "none"
if missing then return answer('none') end
if record.version == VERSION and record.stage == 'submitting' then redis.call('HSET', job, 'watched', '1') end
if slots and record.version == VERSION and record.stage == 'generating' and not record.entered then
  hold(math.max(math.min(record.since_ms, now) + slots.keep, now + math.floor(slots.keep / 4)))
end
return answer('record')
