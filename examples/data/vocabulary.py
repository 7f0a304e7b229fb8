"""Words of the call-centre day: people, numbers, queues, what is said in chats and notes. No logic.

Every telephone number lies in a range reserved for fiction (+1 NXX 555 01xx, +44 20 7946 0xxx)."""

FIRST_NAMES = """Maria James Aisha Liam Chloé Kwame Yuki Elena Omar Grace Łukasz Priya Noah Fatima Henrik Zoë Daniel Leila
Marcus Ana Tomasz Ingrid Samuel Nadia Victor Hannah Diego Amara Felix Rosa Ibrahim Sofia Peter Mei Jonas Olga Ravi Claire
Mateo Ruth""".split()
LAST_NAMES = """Lopez Okafor Whitfield Novak Tanaka Brandt Haddad Murphy Kowalska Iyer Petersen Osei Laurent Silva Becker Rahman
Jensen Moreau Castillo Nguyen Fischer Adeyemi Rossi Hughes Lindqvist Costa Demir Walsh Kaplan Reyes Schmidt Patel Ivanova
Mbeki Larsen Quinn Vargas Yamada Doyle Weiss""".split()

AREA_CODES = ["212", "312", "415", "503", "617", "646", "702", "808", "917", "972"]

# tenant: share of agents, calls and chats in the day, and its queues with the share of calls each gets
TENANTS = {
    "acme-support": {
        "site": "acme", "agents": 30, "calls": 335, "chats": 62, "first_extension": 1001,
        "lines": ["+18005550100", "+18005550101", "+442079460018"],
        "queues": {"technical": 0.38, "billing": 0.27, "orders": 0.21, "returns": 0.14},
        # A failed sign-in service: (from, until, calls more than usual, queue)
        "surge": (22200, 22900, 52, "technical"),
    },
    "globex-care": {
        "site": "globex", "agents": 10, "calls": 112, "chats": 19, "first_extension": 2001,
        "lines": ["+18885550142"],
        "queues": {"appointments": 0.55, "claims": 0.45},
    },
}

BREAK_REASONS = ["coffee", "personal", "stretch"]
END_CAUSES = ["caller_hangup"] * 7 + ["agent_hangup"] * 4 + ["network_error"]
CHAT_REASONS = ["order status", "change of address", "refund", "password reset", "delivery is late", "invoice question",
                "cancel subscription", "warranty"]
CHAT_ENDS = ["resolved", "resolved", "resolved", "visitor_left", "idle"]

VISITOR_LINES = [
    "Hi, my order still shows “processing” after four days.",
    "I was charged twice this month, can you check?",
    "It is order 48-{n}.",
    "The parcel says delivered but nothing is here.",
    "I cannot sign in since the last update.",
    "Yes, that is the address. Flat 3, second floor.",
    "How long will the refund take?",
    "Great, thank you very much!",
    "Could I get a call back after 3 pm instead?",
    "The link in the e-mail says it has expired.",
    "I have attached the invoice.",
    "ok",
    "One moment, I need to look for the number…",
    "Perfect, that worked 👍",
    "Merci beaucoup, à bientôt!",
    "Is there a way to change the delivery date to the {d}th?",
]
AGENT_LINES = [
    "Hello, you are talking to {name}. How can I help?",
    "Thanks, I am looking at your account now.",
    "Could you give me the order number, please?",
    "I can see the second charge. I have opened case C-{n} to refund it.",
    "The carrier has it at the depot; it will be with you tomorrow before noon.",
    "I have sent a new link, valid for 30 minutes.",
    "The refund usually arrives within 3 to 5 working days.",
    "Is there anything else I can do for you?",
    "I have changed the delivery date to the {d}th.",
    "You are welcome. Have a nice day!",
]
ATTACHMENTS = [("invoice-{n}.pdf", "application/pdf"), ("screenshot-{n}.png", "image/png"), ("label-{n}.jpg", "image/jpeg")]

PERSONAL_NOTES = [
    ("Call back", "Customer {phone} asked for you by name, please call back before 16:00.", "info"),
    ("Coaching", "Your coaching session is at 14:15 in room {d}.", "info"),
    ("Break", "Your next break starts in 5 minutes.", "info"),
    ("Quality", "Call review done: {d} of 30 points missing on the closing, otherwise very good.", "info"),
    ("Case C-{n}", "Second level answered your case, please inform the customer.", "info"),
    ("Long call", "Your call is over 25 minutes, do you need a supervisor?", "warning"),
]
BROADCAST_NOTES = [
    ("Known problem", "Sign-in by text message is slow for some customers, e-mail works.", "warning"),
    ("Service level", "80 % of calls answered within 20 s so far. Thank you!", "info"),
    ("Lunch", "The canteen closes at 13:45 today.", "info"),
    ("Price list", "New tariff sheet is in the knowledge base, valid from today.", "info"),
    ("Solved", "The sign-in problem is solved.", "info"),
]
FAULTS = [
    ("trunk_unavailable", "trunk carrier-b answered 503, calls go over carrier-a"),
    ("recording_disk_full", "recorder 2 has 3 % space left"),
    ("crm_timeout", "customer lookup took longer than 2 s"),
]
