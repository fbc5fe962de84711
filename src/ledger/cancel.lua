-- Its user wants the job no more. One that was not seen yet is remembered as such.
-- ARGV[3] milliseconds to remember a job that was not seen yet
-- answer  "ok"; "moved" where the job has ended
if foreign() or ended then return answer('moved') end
redis.call('HSET', job, 'version', VERSION, 'cancelled', '1')
if missing then redis.call('PEXPIRE', job, ARGV[3]) end
redis.pcall('PUBLISH', channel, 'look ' .. id)
return answer('ok')
