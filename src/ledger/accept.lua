-- -> generating: the provider has accepted this task. This is a fact, so it replaces everything except an outcome or an
-- earlier task. A task that is known to have failed is not written: another generation has replaced it.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] attempt   ARGV[6] task id
-- ARGV[7] "", or the tasks that failed before it, and ARGV[8] whether any was charged: for a record that is missing
-- ARGV[9] "", or the external id of the attempt: for a record that is missing   ARGV[10] the name of the route
-- answer  "ok", also to a repeated call; "moved" if there already was a task or an outcome
local digest, round, attempt, task = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if foreign() then return answer('moved') end
if record.stage == 'generating' then
  return answer(record.task == task and 'ok' or 'moved')
end
if ended or has_failed(task) then return answer('moved') end
move({'stage', 'generating', 'digest', digest, 'route', ARGV[10], 'round', round, 'attempt', attempt, 'task', task,
      'since_ms', now, 'entries', '1'},
     {'nonce', 'event', 'replaceable'})
if missing and ARGV[7] ~= '' then redis.call('HSET', job, 'failed_tasks', ARGV[7], 'failed_charged', ARGV[8]) end
if missing and ARGV[9] ~= '' then redis.call('HSET', job, 'under', ARGV[9]) end
hold_anew()
return written()
