-- A life is about to store the images: the task has ended, and its slots are free. One that dies there leaves its entry behind.
-- The field entered has the words of those that are in there, each behind a space; where it is missing, the life that submitted the
-- job is alone, counted with its task.
-- ARGV[3] the life's own word: a repeated call counts once; "" for the life that submitted the job
-- answer  "ok", the field entries being the count with this one; "moved" where the job isn't generating
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
local word = ARGV[3] == '' and '-' or ARGV[3]
local inside = record.entered or (tonumber(record.entries or '0') > 0 and ' -' or '')
if not string.find(inside .. ' ', ' ' .. word .. ' ', 1, true) then
  redis.call('HINCRBY', job, 'entries', 1)
  inside = inside .. ' ' .. word
end
redis.call('HSET', job, 'entered', inside)
release()
return answer('ok')
