-- The event of a finished job is confirmed: the record has done its work and expires.
-- ARGV[3] round   ARGV[4] milliseconds to remember it
-- answer  "ok"; "moved" where the record is not that finished one
if missing or foreign() or record.stage ~= 'done' or record.round ~= ARGV[3] then return answer('moved') end
redis.call('PEXPIRE', job, ARGV[4])
return {'ok', now, {}, notes}
