-- A life is about to store the images: the task has ended, so its slots are freed. If the life dies there, its entry stays.
-- The field `entered` lists the lives that are storing, each after a space. If it is missing, only the life that submitted the
-- job is storing; that life was counted with its task.
-- ARGV[3] the name of the life, so that a repeated call counts once; "" for the life that submitted the job
-- answer  "ok", and the field `entries` is the count with this life; "moved" if the job isn't generating
if missing or foreign() or record.stage ~= 'generating' then return answer('moved') end
local word = ARGV[3] == '' and '-' or ARGV[3]
local inside = record.entered or (tonumber(record.entries or '0') > 0 and ' -' or '')
if not string.find(inside .. ' ', ' ' .. word .. ' ', 1, true) then
  redis.call('HINCRBY', job, 'entries', 1)
  inside = inside .. ' ' .. word
end
if not record.entered then list('storing', now) end
redis.call('HSET', job, 'entered', inside)
release()
return answer('ok')
