-- How far is the job? Whoever sees another hand submitting is going to look on, and asks to be woken.
-- answer  "record", or "none"
if missing then return answer('none') end
if record.version == VERSION and record.stage == 'submitting' then redis.call('HSET', job, 'watched', '1') end
return answer('record')
