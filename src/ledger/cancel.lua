-- The user cancels the job. If no worker has seen the job yet, the cancellation is remembered.
-- ARGV[3] milliseconds to remember a job that no worker has seen yet
-- answer  "ok"; "moved" if the job has ended
if foreign() or ended then return answer('moved') end
redis.call('HSET', job, 'version', VERSION, 'cancelled', '1')
if missing then redis.call('PEXPIRE', job, ARGV[3]) end
redis.pcall('PUBLISH', channel, 'look ' .. id)
return answer('ok')
