-- -> generating: the provider has accepted this task. Knowledge, so it overwrites everything but an outcome
-- and an earlier task.
-- ARGV[3] digest   ARGV[4] round   ARGV[5] attempt   ARGV[6] task id
-- answer  "ok" also to a repeated call; "moved" where a task or an outcome was there before
local digest, round, attempt, task = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if foreign() then return answer('moved') end
if record.stage == 'generating' then
  return answer(record.task == task and 'ok' or 'moved')
end
if record.stage == 'done' then return answer('moved') end
move({'stage', 'generating', 'digest', digest, 'round', round, 'attempt', attempt, 'task', task, 'since_ms', now,
      'entries', '1'},
     {'nonce', 'event', 'replaceable'})
hold_anew()
return answer('ok')
