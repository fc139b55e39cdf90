"""Assertions about what is stored: tables and accounts."""

from template_case import Template


class Data(Template):
    def test_what_is_stored_outlives_the_stack(self):
        for kind in ("DynamoDB::Table", "Cognito::UserPool"):
            for name, it in self.all(kind):
                for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
                    self.assertEqual(self.resources[name].get(policy), "Retain", name)
                protection = it.get("DeletionProtectionEnabled") or it.get("DeletionProtection") == "ACTIVE"
                self.assertTrue(protection, name)

    def test_the_user_pool_is_closed_unless_a_parameter_opens_it(self):
        created = self.one("UserPool")["AdminCreateUserConfig"]
        self.assertEqual(created, {"AllowAdminCreateUserOnly": {"Fn::If": ["HasSelfSignUp", False, True]}})
        self.assertEqual(self.conditions["HasSelfSignUp"], {"Fn::Equals": [{"Ref": "SelfSignUp"}, "true"]})
        self.assertEqual(self.parameters["SelfSignUp"]["Default"], "false")

    def test_only_old_orders_and_slots_are_forgotten(self):
        forgetting = {
            name: it["TimeToLiveSpecification"]
            for name, it in self.all("DynamoDB::Table")
            if "TimeToLiveSpecification" in it
        }
        forget = {"AttributeName": "forget_at", "Enabled": True}
        self.assertEqual(forgetting, {"OrdersTable": forget, "BuyersTable": forget})

    def test_an_order_is_kept_for_sixty_days_or_for_ever(self):
        self.check_pattern("KeepUnpaidDays", [0, *range(60, 10_000)], ["", "1", "59", "059", "-60", "60.5", "10000"])

    def test_a_table_can_be_restored_to_any_moment(self):
        for name, it in self.all("DynamoDB::Table"):
            self.assertEqual(it["PointInTimeRecoverySpecification"], {"PointInTimeRecoveryEnabled": True}, name)
