-- generating -> new, the next attempt: the provider says that the task has failed, and another generation may follow.
-- ARGV[3] attempt   ARGV[4] the task that failed   ARGV[5] all tasks that failed, this one last, with a space between them
-- ARGV[6] whether any of them was charged: "no" | "yes" | "unknown"
-- answer  "ok", also to a repeated call; "none" or "moved"
local attempt, task, failed, charged = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local next_attempt = string.format('%.0f', tonumber(attempt) + 1)
if missing then return answer('none') end
if foreign() then return answer('moved') end
if record.stage == 'new' and record.attempt == next_attempt and record.failed_tasks == failed then return answer('ok') end
if record.stage ~= 'generating' or record.attempt ~= attempt or record.task ~= task then return answer('moved') end
move({'stage', 'new', 'attempt', next_attempt, 'since_ms', now, 'failed_tasks', failed, 'failed_charged', charged},
     {'task', 'nonce', 'under', 'entries', 'entered', 'tried_ms'})
release()
return answer('ok')
