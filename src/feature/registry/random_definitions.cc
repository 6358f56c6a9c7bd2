#include "feature/registry/random_definitions.h"

#include <algorithm>
#include <utility>

namespace gnomon::feature {

namespace {

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  Definitions Make() {
    for (int64_t i = 0, count = 1 + Below(4); i < count; ++i) MakeEntity(i);
    for (int64_t i = 0, count = 1 + Below(3); i < count; ++i) MakeSource(i);
    for (int64_t i = 0, count = 1 + Below(5); i < count; ++i) MakeView(i);
    for (int64_t i = 0, count = Below(4); i < count; ++i) MakeOnDemandView(i);
    for (int64_t i = 0, count = Below(4); i < count; ++i) MakeService(i);
    return Complete(std::move(all_));
  }

 private:
  int64_t Below(int64_t limit) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(limit));
  }
  bool Flip() { return Below(2) == 0; }
  template <typename Item>
  const Item& Pick(const std::vector<Item>& items) {
    return items[static_cast<size_t>(Below(static_cast<int64_t>(items.size())))];
  }

  std::string Text() {
    static const std::vector<std::string> kTexts = {"",
                                                    "a",
                                                    "Größe %",
                                                    "line\nbreak",
                                                    "\"quoted\" {json: [1]}",
                                                    "日本語",
                                                    "tab\tand 'quote'",
                                                    "<b>&amp;</b>"};
    return Pick(kTexts);
  }

  Tags SomeTags() {
    Tags tags;
    for (int64_t i = Below(3); i > 0; --i) tags[Concat("tag", Text())] = Text();
    return tags;
  }

  template <typename Object>
  void Common(Object* object) {
    object->description = Text();
    object->tags = SomeTags();
    object->owner = Text();
  }

  ValueType AnyType() {
    return {static_cast<ValueType::Base>(ValueType::kBytes + Below(8)), Below(4) == 0};
  }

  void MakeEntity(int64_t i) {
    static const std::vector<ValueType::Base> kTypes = {ValueType::kInt64, ValueType::kInt32,
                                                        ValueType::kString, ValueType::kBytes,
                                                        ValueType::kUnixTimestamp};
    Entity entity;
    entity.name = Concat("entity ", i);
    entity.join_key = Concat("key_", i);
    entity.value_type = {Pick(kTypes)};
    Common(&entity);
    all_.entities.push_back(std::move(entity));
  }

  void MakeSource(int64_t i) {
    DataSource source;
    source.name = Concat("/data/source ", i, ".parquet");
    source.type = Pick(std::vector<std::string>{"file", "postgres", "sqlite"});
    if (source.type != "postgres") source.path = source.name;
    if (source.type == "file") {
      source.file_format = Pick(std::vector<std::string>{"", "parquet", "csv", "json", "ipc"});
      if (Flip()) source.s3_endpoint_override = "http://127.0.0.1:9000";
    } else if (Flip()) {
      source.table = "features.\"Größe\"";
    } else {
      source.query = "SELECT 'a\\b' AS a,\n* FROM t";
    }
    source.timestamp_field = Flip() ? "" : "event_timestamp";
    source.created_timestamp_column = Flip() ? "" : "created";
    if (Flip()) source.field_mapping = {{"a", "b"}, {"c", "dé"}};
    Common(&source);
    all_.data_sources.push_back(std::move(source));
  }

  Aggregation MakeAggregation(int64_t i) {
    Aggregation aggregation;
    aggregation.column = Concat("column_", i);
    if (Flip()) aggregation.column_type = ValueType{ValueType::kDouble};
    aggregation.function = static_cast<pit::AggregateFunction>(Below(14));
    if (Flip()) aggregation.time_window = 1 + Below(int64_t{1} << 50);
    if (Flip()) aggregation.slide_interval = 1 + Below(1'000'000'000);
    if (Flip()) aggregation.name = Concat("aggregate ", i);
    aggregation.k = 1 + Below(5);
    aggregation.quantile = static_cast<double>(Below(1001)) / 1000;
    aggregation.ddof = static_cast<int>(Below(3));
    return aggregation;
  }

  void MakeView(int64_t i) {
    FeatureView view;
    view.name = Concat("view_", i);
    for (const Entity& entity : all_.entities) {
      if (Flip()) view.entities.push_back(entity.name);
    }
    if (!all_.feature_views.empty() && Below(4) == 0) {
      view.source_views = {Pick(all_.feature_views).name};
    } else {
      view.source = Pick(all_.data_sources).name;
    }
    if (Below(4) == 0 && all_.data_sources.size() > 1) {
      const std::string& sink = Pick(all_.data_sources).name;
      if (sink != view.source) view.sink_source = sink;
    }
    if (Below(4) == 0) view.push_source = Concat("pushed_", Below(3));
    view.ttl = Flip() ? 0 : Below(int64_t{1} << 50);
    view.online = Flip();
    if (Flip()) view.filter = "x > 0 and s = 'it''s'";
    if (Flip()) view.transformations = {{"late", "x / 2"}, {"early", "late + 1"}};
    if (Below(3) == 0) {
      for (int64_t a = 0, count = 1 + Below(4); a < count; ++a)
        view.aggregations.push_back(MakeAggregation(a));
    } else {
      for (int64_t f = 0, count = 1 + Below(4); f < count; ++f) {
        view.schema.push_back({Concat("feature_", i, "_", f), AnyType(), Text(), SomeTags()});
      }
    }
    Common(&view);
    all_.feature_views.push_back(std::move(view));
  }

  void MakeOnDemandView(int64_t i) {
    OnDemandFeatureView view;
    view.name = Concat("on_demand_", i);
    view.request_schema = {{Concat("request_", i), {ValueType::kInt64}, Text(), SomeTags()}};
    if (Flip()) view.sources.push_back(Pick(all_.feature_views).name);
    if (i > 0 && Flip()) view.sources.push_back(Concat("on_demand_", i - 1));
    view.schema = {{Concat("result_", i), {ValueType::kDouble}, Text(), SomeTags()}};
    view.expressions = {{Concat("result_", i), Concat("request_", i, " / 2")}};
    Common(&view);
    all_.on_demand_feature_views.push_back(std::move(view));
  }

  void MakeService(int64_t i) {
    FeatureService service;
    service.name = Concat("service_", i);
    for (const std::string& name : all_.ViewNames()) {
      if (Below(3) == 0) continue;
      Projection projection{name, Flip() ? "" : Concat("alias_", name), {}, {}};
      if (const FeatureView* view = all_.FindFeatureView(name)) {
        if (!view->schema.empty() && Flip()) projection.features = {view->schema[0].name};
        for (const std::string& entity : view->entities) {
          if (Flip())
            projection.join_key_map[all_.FindEntity(entity)->join_key] = Concat("other_", entity);
        }
      } else if (Flip()) {
        projection.features = {all_.FindOnDemandFeatureView(name)->schema[0].name};
      }
      service.features.push_back(std::move(projection));
    }
    if (service.features.empty()) service.features = {{all_.feature_views[0].name, "", {}, {}}};
    std::shuffle(service.features.begin(), service.features.end(), random_);
    Common(&service);
    all_.feature_services.push_back(std::move(service));
  }

  std::mt19937_64 random_;
  Definitions all_;
};

}  // namespace

Definitions RandomDefinitions(uint64_t seed) { return Maker(seed).Make(); }

}  // namespace gnomon::feature
