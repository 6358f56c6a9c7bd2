#include "feature/online/redis_commands_internal.h"

namespace gnomon::feature::internal {

Result<RedisReply> RedisCommands::NextOk(const Context& context) {
  GNOMON_ASSIGN_OR_RETURN(auto reply, Next(context));
  GNOMON_RETURN_NOT_OK(reply.ToStatus(place()));
  return reply;
}

Result<RedisReply> RedisCommands::Run(const Context& context,
                                      std::initializer_list<std::string_view> words) {
  Append(words);
  return NextOk(context);
}

}  // namespace gnomon::feature::internal
